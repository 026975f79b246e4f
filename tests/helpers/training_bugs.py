"""Bugs of other toolkits in the model, the loss, the optimizer step and the evaluation, each as a
replacement of one function of the package; see replaced_function.py."""

import sys

from replaced_function import bug

LOSS_TEST = "test_loss_and_gradients_are_those_of_the_papers"
PACKING_TEST = "test_packed_rows_do_not_see_each_other"
STEP_TEST = "test_accumulation_gives_the_gradient_of_the_whole_step"


@bug(
    "the vocabulary grows by a padding token",
    "model.trainable:trainable_model",
    "test_making_a_model_trainable_changes_no_output",
)
def _(trainable_model):
    def with_padding_token(model, *arguments, **options):
        model.resize_token_embeddings(model.config.vocab_size + 1)
        return trainable_model(model, *arguments, **options)

    return with_padding_token


@bug("packed rows see each other", "model.loss:packed_mask", PACKING_TEST)
def _(packed_mask):
    return lambda row_ids, dtype: packed_mask(row_ids * 0, dtype)


@bug("rows laid end to end see each other", "families.padding_free:bundle_rows", PACKING_TEST)
def _(bundle_rows):
    def from_the_start(lengths):
        return [[slice(0, row.stop) for row in rows] for rows in bundle_rows(lengths)]

    return from_the_start


@bug("labels are shifted twice", "model.loss:SumCrossEntropy.forward", LOSS_TEST)
def _(forward):
    return staticmethod(
        lambda ctx, hidden, weight, targets: forward.__func__(ctx, hidden, weight, targets.roll(-1))
    )


@bug("the model's own mean is taken for a sum", "model.loss:SumCrossEntropy.forward", LOSS_TEST)
def _(forward):
    def mean(ctx, hidden, weight, targets):
        return forward.__func__(ctx, hidden, weight, targets) / max(1, len(targets))

    return staticmethod(mean)


class ScaledLoss:
    """A loss module whose result is multiplied by a factor that depends on the micro-batch."""

    def __init__(self, module, factor) -> None:
        self.module, self.factor, self.parameters = module, factor, module.parameters

    def __call__(self, batch):
        return self.module(batch) * self.factor(batch)


def scaled_micro_batches(forward_backward, factor):
    """forward_backward with `factor(batch, schedule, step, num_micro_batches)` on every loss."""

    def scaled(loss_module, micro_batches, schedule, step, *arguments):
        batches = list(micro_batches)
        module = ScaledLoss(loss_module, lambda b: factor(b, schedule, step, len(batches)))
        return forward_backward(module, iter(batches), schedule, step, *arguments)

    return scaled


@bug("a mean of the micro-batches' means", "training.step:forward_backward", STEP_TEST)
def _(forward_backward):
    def factor(batch, schedule, step, num_micro_batches):
        num_supervised = max(1, len(batch.targets))
        return schedule.num_supervised(step) / num_supervised / num_micro_batches

    return scaled_micro_batches(forward_backward, factor)


@bug(
    "divided once more by the number of micro-batches", "training.step:forward_backward", STEP_TEST
)
def _(forward_backward):
    return scaled_micro_batches(forward_backward, lambda _, __, ___, count: 1 / count)


@bug(
    "the epoch's short last step is divided as if it were full",
    "training.batch_schedule:BatchSchedule.num_supervised",
    STEP_TEST,
)
def _(num_supervised):
    return lambda self, step: num_supervised(self, 0)


@bug("processes average what they should add", "training.step:sum_gradients", STEP_TEST)
def _(sum_gradients):
    def average(gradients):
        sum_gradients(gradients)
        gradients /= 2

    return average


@bug(
    "the evaluation loss is a mean of the batches' means",
    "evaluation.evaluator:token_losses",
    "test_the_loss_of_an_evaluation_does_not_depend_on_the_batch_size",
)
def _(token_losses):
    def of_batches(model, encoded, batch_size, *arguments):
        nats = token_losses(model, encoded, batch_size, *arguments)
        for start in range(0, len(nats), batch_size):
            batch = nats[start : start + batch_size]
            scale = 100 / sum(map(len, batch))
            nats[start : start + batch_size] = [row * scale for row in batch]
        return nats

    return of_batches


@bug(
    "a step with a NaN goes into the weights",
    "training.step:step_outcome",
    "test_a_loss_that_is_not_finite_stops_before_the_step",
)
def _(step_outcome):
    return lambda *arguments, **options: sys.modules["llmkit.training.step"].StepOutcome.UPDATED


@bug(
    "no adapter gets a gradient, and the loss is printed all the same",
    "model.trainable:add_lora",
    "test_lora_reaches_each_layer_of_gpt2_and_merges_exactly",
)
def _(add_lora):
    return lambda *arguments: add_lora(*arguments).requires_grad_(False)
