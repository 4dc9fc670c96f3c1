"""What can be wrong in what the models are given.

```
ModelError
└── PolicyError    the policy file is wrong: the sentence names file, line and key
```
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of all errors whose message is meant for an operator."""


class PolicyError(ModelError):
    """A policy cannot be used. Operator action: correct the line and key that the message names."""
