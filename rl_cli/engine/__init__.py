"""The update step and forward passes of an algorithm's networks, compiled where that is possible.

`learner.Learner` is what algorithms use; README.md explains the rest.
"""
