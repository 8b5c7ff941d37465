"""The whole vocabulary of incident reports and of `replay`: what is noticed, what is found, what is done."""

EVENTS = {
    "none": "nothing: the training is healthy",
    "non_finite": "the loss, a gradient or a new weight was not finite, and the step was rejected",
    "spike": "the loss of one step lay far above those before it",
    "divergence": "the loss of several steps in a row lay above those before them",
    "unreadable": "a training batch could not be read",
    "validation": "a validation gave a loss that is not finite",
    "collapse": "nearly all vectors got the same few codes",
    "storm": "as many codes were revived at each event as may be, and died again",
    "scale": "codes are ten times as long as what they stand for, or a tenth",
    "standstill": "the codebook did not move for 500 steps",
}
VERDICTS = {
    "data": "the batch: what was read or made of it is not finite, or could not be read",
    "loss": "a part of the loss, for what the model gave is finite and the rest of the loss is sound",
    "layer": "a layer gave what is not finite out of what is",
    "gradient": "forward everything is finite, and the gradient of a layer is not",
    "weights": "weights differ from those that the training had computed: something else wrote to them",
    "optimizer": "the optimizer's own state differs from what the training had computed, or is not finite",
    "learning_rate": "the learning rate: a smaller one passes the same steps",
    "compiled": "only the compiled step fails; operation by operation it is sound",
    "nondeterministic": "the same step from the same state gives different results",
    "not_reproduced": "the step is sound when it is run again",
    "unexplained": "the step fails again, and nothing that was tried explains it",
}
ACTIONS = {
    "none": "nothing was done",
    "skip": "the step was left out; no weight changed",
    "redraw": "other examples took the place of the batch",
    "report": "it was reported, and the training goes on",
    "roll_back": "back to the last good state, with other examples around the bad step",
    "roll_back_slower": "back to the last good state, with other examples, and half the learning rate after a new warm-up",
    "stop": "the training was ended with exit code 4",
}
