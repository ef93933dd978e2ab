"""A head's circuit as OpenQASM 3, and whether such a text still says the same circuit.

A text from elsewhere is never handed to a full OpenQASM reader, which obeys it: ``qubit[1000000000]
q;`` alone takes all memory. What is understood is what Qiskit writes for a head's circuit, in other
spacing, with remarks, in any numbers: a header, parameters, one register, gates on its qubits.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qiskit import qasm3
from qiskit.circuit import QuantumCircuit

#: A text this much longer than the circuit's own, plus some room, is not read at all.
_LONGER, _ROOM = 4, 10_000
_LONGEST_ANGLE = 200

_REMARK = re.compile(r"//[^\n]*")
_HEADER = re.compile(r'OPENQASM\s+3(\.\d+)?|include\s+"stdgates\.inc"')
_INPUT = re.compile(r"input\s+(?:float|angle)\s*(?:\[\s*\d+\s*\])?\s+(\w+)")
_REGISTER = re.compile(r"qubit\s*\[\s*(\d+)\s*\]\s*(\w+)")
_GATE = re.compile(r"(\w+)\s*(?:\((.*)\))?\s+(\w+\s*\[\s*\d+\s*\](?:\s*,\s*\w+\s*\[\s*\d+\s*\])*)")
_QUBIT = re.compile(r"(\w+)\s*\[\s*(\d+)\s*\]")

_OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip


def to_openqasm(circuit: QuantumCircuit) -> str:
    """Return a circuit as OpenQASM 3; each free parameter is an ``input`` with its name."""
    return qasm3.dumps(circuit)


def says_the_same(text: str, circuit: QuantumCircuit) -> bool:
    """Return whether a text, perhaps of another version of Qiskit, holds this very circuit.

    The same gates on the same qubits in the same order, with the same angles at two random
    settings of the parameters. A text that is not understood does not say the same.
    """
    own = to_openqasm(circuit)
    if text == own:
        return True
    if len(text) > _LONGER * len(own) + _ROOM:
        return False
    try:
        read, reference = _read(text), _read(own)
        if (read.num_qubits, read.inputs) != (reference.num_qubits, reference.inputs):
            return False
        rng = np.random.default_rng(0)
        names = sorted(reference.inputs)
        return all(
            read.bound(values) == reference.bound(values)
            for values in (
                dict(zip(names, rng.uniform(-1, 1, len(names)).tolist(), strict=True))
                for _ in range(2)
            )
        )
    except (_NotUnderstoodError, ArithmeticError):
        return False


class _NotUnderstoodError(Exception):
    """The text is not in the part of OpenQASM 3 that is read here."""


@dataclass
class _Program:
    """What a text says."""

    num_qubits: int = 0
    register: str = ""
    inputs: set[str] = field(default_factory=set)
    gates: list[tuple[str, tuple[int, ...], tuple[ast.expr, ...]]] = field(default_factory=list)

    def bound(self, values: dict[str, float]) -> list[tuple[str, tuple[int, ...], tuple[Any, ...]]]:
        """Return name, qubits and angles (to 12 digits) of every gate at a setting."""
        return [
            (name, qubits, tuple(round(_value(angle, values), 12) for angle in angles))
            for name, qubits, angles in self.gates
        ]


def _read(text: str) -> _Program:
    # One blank for many, before any pattern could try all ways to share them out.
    *statements, rest = " ".join(_REMARK.sub(" ", text).split()).split(";")
    if rest.strip() or not statements or not statements[0].startswith("OPENQASM"):
        raise _NotUnderstoodError
    program = _Program()
    for statement in map(str.strip, statements):
        if _HEADER.fullmatch(statement):
            continue
        if found := _INPUT.fullmatch(statement):
            program.inputs.add(found[1])
        elif (found := _REGISTER.fullmatch(statement)) and not program.register:
            program.num_qubits, program.register = int(found[1][:9]), found[2]
        elif found := _GATE.fullmatch(statement):
            program.gates.append((found[1], _qubits(found[3], program.register), _angles(found[2])))
        else:
            raise _NotUnderstoodError
    return program


def _qubits(text: str, register: str) -> tuple[int, ...]:
    found = _QUBIT.findall(text)
    if any(name != register or len(index) > 9 for name, index in found):
        raise _NotUnderstoodError
    return tuple(int(index) for _, index in found)


def _angles(text: str | None) -> tuple[ast.expr, ...]:
    angles = text.split(",") if text else []
    try:
        if any(len(angle) > _LONGEST_ANGLE for angle in angles):
            raise _NotUnderstoodError
        return tuple(ast.parse(angle.strip(), mode="eval").body for angle in angles)
    except (SyntaxError, ValueError) as error:
        raise _NotUnderstoodError from error


def _value(node: ast.expr, values: dict[str, float]) -> float:
    """Return the value of sums and products of numbers and parameters; nothing else has one."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name) if name in values or name in ("pi", "π"):
            return values.get(name, math.pi)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand, values))
    raise _NotUnderstoodError
