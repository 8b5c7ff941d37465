"""The optimizers that a config can name. To add one: a function here, a line in `OPTIMIZERS`.

Each takes the learning rate, or its schedule, and the decoupled weight decay per step; its other arguments are open to a config. What Keras' optimizers can do
besides (clipping, averaging, accumulation, loss scaling) is the work of `GuardedOptimizer`.
"""

import keras


def _check_share(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 <= value < 1:
            raise ValueError(f"`{name}` must lie between 0 and below 1. Received: {name}={value}")


def _check_epsilon(epsilon: float) -> None:
    if epsilon <= 0:
        raise ValueError(f"`epsilon` must be above 0, else a weight without gradient is divided by zero. Received: epsilon={epsilon}")


def adamw(learning_rate, weight_decay, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7) -> keras.optimizers.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101)."""
    _check_share(beta_1=beta_1, beta_2=beta_2)
    _check_epsilon(epsilon)
    return keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon)


def adam(
    learning_rate, weight_decay, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False
) -> keras.optimizers.Optimizer:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), or its variant AMSGrad."""
    _check_share(beta_1=beta_1, beta_2=beta_2)
    _check_epsilon(epsilon)
    return keras.optimizers.Adam(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay)


def sgd(learning_rate, weight_decay, momentum: float = 0.0, nesterov: bool = False) -> keras.optimizers.Optimizer:
    """Gradient descent, with momentum where it is not 0."""
    _check_share(momentum=momentum)
    return keras.optimizers.SGD(learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


def lion(learning_rate, weight_decay, beta_1: float = 0.9, beta_2: float = 0.99) -> keras.optimizers.Optimizer:
    """Lion, which moves every weight by the same amount (Chen et al. 2023, arXiv 2302.06675)."""
    _check_share(beta_1=beta_1, beta_2=beta_2)
    return keras.optimizers.Lion(learning_rate, beta_1=beta_1, beta_2=beta_2, weight_decay=weight_decay)


OPTIMIZERS = {"adamw": adamw, "adam": adam, "sgd": sgd, "lion": lion}
