"""Inspection: what one step knows about each layer, and what it means.

For a batch of B rows, with delta_l = d(mean loss)/dz_l as a (B, n_l) matrix, z_l = a_{l-1} W_l + b_l, and phi' the
derivative of layer l's activation at z_l, or at what a normalization has made of it (1 for the output layer, which is
linear):

``grad_norm`` ``bias_grad_norm`` ``weight_norm``
    Frobenius or L2 norms of dW_l, db_l, W_l. Where batch norm stands in the place of biases, its shifts count as b_l.
``delta_norm``
    Frobenius norm of delta_l.
``speed``
    L2 norm of db_l, the sum of delta_l over the batch: Nielsen's "speed of learning" (*Neural Networks and
    Deep Learning*, chapter 5).
``weight_gain``
    ‖delta_{l+1} W_{l+1}ᵀ‖ / ‖delta_{l+1}‖: what the weights did to the signal on its way back to layer l.
``activation_gain``
    ‖(delta_{l+1} W_{l+1}ᵀ) ∘ phi'(z_l)‖ / ‖delta_{l+1} W_{l+1}ᵀ‖: what the activation did.
``skip_gain``
    ‖u_l‖ / ‖delta_{l+1} W_{l+1}ᵀ‖ where a residual connection ends at layer l or begins behind it: what arrives by the
    connection past the layers between, beside what arrives through them, u_l being d(mean loss)/da_l. 1 elsewhere.
``normalization_gain``
    ‖N'ᵀ g‖ / ‖g‖: what the normalization of layer l did to the signal g that it got, from the activation if it stands
    before that, from the weights if it stands after; activation_gain is then of what the other gave. 1 without one.
``gain``
    Their product, ‖delta_l‖ / ‖delta_{l+1}‖; the product over layers is ‖delta_1‖ / ‖delta_L‖. All these
    gains are NaN for the output layer, where the signal starts.
``mean_derivative`` ``saturated`` ``dead``
    Mean of phi'; share of entries with phi' below 1 % of its maximum; share of units with phi' = 0 on every row.
``update_ratio``
    ‖W_new - W_old‖ / ‖W_old‖, computed as ‖lr * step‖ / ‖W_l‖ (for plain SGD, ‖lr dW_l‖ / ‖W_l‖).
``frozen`` ``stuck``
    Share of weights whose bits the update does not change, in the net's dtype (where 0 and -0 count as the same); and
    of those among them whose gradient is not 0, so that they ought to have moved.
    The rest of the frozen ones, ``frozen - stuck``, have a gradient of exactly 0.
``zero`` ``subnormal`` ``max_abs``
    Shares and largest of abs(dW_l).
``predicted_gain`` ``predicted_low`` ``predicted_high``
    In a report: what ``gain`` should be, and a 95 % band, by ``vgfast.inspection.mean_field``; with a normalization by
    ``vgfast.inspection.normalized_field``, with residual connections by ``vgfast.inspection.residual_field``, without a
    band; NaN with both.
``over_eps``
    In a report on a step of Adam, AdamW, RMSprop or Adagrad: sqrt(v) / eps, the root mean square, over the weights W_l,
    of what the step divides by (of Adam, v with its correction) over the eps that is added to it. Above 1, weights move
    by about lr, however little is left of the signal; below 1, by lr times gradient over eps, and such a layer is not
    rescued. NaN of other optimizers. In tables ``rms/eps``, in the place of |dW| where there is no room for both.
``sample_norm`` ``noise_scale``
    Root mean square, over the batch, of the norm of each sample's own gradient of W_l and b_l,
    ‖g_i‖² = B² ‖delta_{l,i}‖² (‖a_{l-1,i}‖² + 1) (Goodfellow, "Efficient per-example gradient computations",
    2015); and tr(Σ) / ‖G‖², the variance of those gradients over the squared norm of their expectation, both
    estimated without bias from this batch (McCandlish and others, "An empirical model of large-batch training",
    2018, appendix A): about the number of samples whose mean has as much signal as noise. Infinite where the
    batch cannot tell the gradient from noise, NaN for one sample, and with batch norm, by which samples have no
    gradients of their own.

With sample weights w the loss is sum(w loss) / sum(w), and delta_l, and all that is made of it, is of that loss. The
batch then counts as B = sum(w)² / sum(w²) samples (Kish's effective sample size) for ``sample_norm`` and
``noise_scale``, which so are estimates of the same without bias. ``mean_derivative``, ``saturated`` and ``dead``, which
are about the activations, count each row once.

Where residual connections end, ``delta_norm`` and ``gain`` are of u_l in place of delta_l, which is only what the
layers between get of it, scale u_l ∘ phi'(z_l). That factor belongs to the activation_gain of the layer before, l - 1,
and what a normalization of layer l does on that way to the normalization_gain there. With a learned scale of 0, as
ReZero starts, those layers get nothing, and the gain is 1 all the same.

Of a layer with dropout, phi' in the gains is that of the step: times the mask, which is 1 / keep or 0; with alpha
dropout A or 0.
``mean_derivative``, ``saturated`` and ``dead`` are of the outputs that the step keeps, without that factor.
"""
