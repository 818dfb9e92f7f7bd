"""Methods: each is a module that turns a batch into losses, and knows nothing of the loop around it.

A method holds the network that is trained, as ``network``, and whatever else it trains beside it. One call is one step:
``method(batch, average)`` gives the losses by name, whose sum is minimised, and counters by name, which are watched.
``average`` is the running average of the method itself, in evaluation mode.
"""
