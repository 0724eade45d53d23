"""Label sets, such as predictions and corrections: further masks of the cases of a store that is there."""
