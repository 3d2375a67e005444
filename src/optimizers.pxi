# ---- optimisers -----------------------------------------------------------------------------------------------------

def penalised_gradient(parameters, gradients, Py_ssize_t n_penalised, double l1, double l2, bint float64):
    """Adds the gradient of l1 |w| + l2 w^2 / 2 over the first n_penalised parameters; returns (squared norm of the
    gradient, value of the penalty)."""
    cdef optimizer_call call
    cdef double norm, penalty = 0
    cdef const kernel_table *table = _tables[float64]
    call.n, call.n_penalised = len(parameters), n_penalised
    if not 0 <= n_penalised <= call.n:
        raise ValueError(f"n_penalised must be in [0, {call.n}], got {n_penalised}")
    call.parameters = _flat(parameters, "parameters", float64, call.n, False)
    call.gradients = _flat(gradients, "gradients", float64, call.n, True)
    with nogil:
        norm = table.penalised_gradient(&call, l1, l2, &penalty)
    return norm, penalty


def optimizer_step(str solver, parameters, gradients, first, second, Py_ssize_t n_penalised, bint float64, *,
                   double scale, double learning_rate, double momentum=0, bint nesterov=False, double beta_1=0,
                   double beta_2=0, double epsilon=0, double decay=0, Py_ssize_t step=1):
    """One step of "sgd", "rmsprop" or "adam" (with decay > 0: AdamW) on the flat parameter array, in place."""
    cdef optimizer_call call
    cdef void (*update)(const optimizer_call *) noexcept nogil
    cdef const kernel_table *table = _tables[float64]
    call.n, call.n_penalised = len(parameters), n_penalised
    if not 0 <= n_penalised <= call.n:
        raise ValueError(f"n_penalised must be in [0, {call.n}], got {n_penalised}")
    call.parameters = _flat(parameters, "parameters", float64, call.n, True)
    call.gradients = _flat(gradients, "gradients", float64, call.n, False)
    call.first = _flat(first, "first", float64, call.n, True)
    call.second = _flat(second, "second", float64, call.n, True)
    call.scale, call.learning_rate, call.momentum, call.nesterov = scale, learning_rate, momentum, nesterov
    call.beta_1, call.beta_2, call.epsilon, call.decay = beta_1, beta_2, epsilon, decay
    call.first_correction, call.second_correction = 1 - beta_1 ** step, 1 - beta_2 ** step
    if solver == "sgd":
        update = table.sgd
    elif solver == "rmsprop":
        update = table.rmsprop
    elif solver == "adam":
        update = table.adam
    else:
        raise ValueError(f"solver must be 'sgd', 'rmsprop' or 'adam', got {solver!r}")
    with nogil:
        update(&call)
