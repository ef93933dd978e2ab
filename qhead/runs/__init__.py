"""A model's predictions on a device: plan, submit, collect, from Python and from the shell.

Below `qhead.classifier`, of which it takes values: circuit rows, the linear read-out, the classes.
"""
