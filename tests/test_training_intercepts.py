import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from training.intercepts import SourceIntercepts, source_shares

N = 4000


def test_shares_are_those_of_the_annotations() -> None:
    weight = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    found = source_shares(weight, torch.tensor([0, 1, 1]), 3)
    assert found.tolist() == [[0.25, 0.0], [0.75, 0.0], [0.0, 0.0]]


def test_intercepts_are_zero_at_the_start_and_in_the_mean() -> None:
    share = torch.tensor([[0.25, 1.0], [0.75, 0.0]])
    own = SourceIntercepts(share)
    source = torch.tensor([1, 0, 1])
    assert own(source).tolist() == [[0.0, 0.0]] * 3
    with torch.no_grad():
        own.value.copy_(torch.tensor([[1.0, 5.0], [3.0, 2.0]]))
    torch.testing.assert_close(own(source), torch.tensor([[0.5, -3.0], [-1.5, 0.0], [0.5, -3.0]]))
    apart = own(torch.arange(2))
    torch.testing.assert_close((share * apart).sum(dim=0), torch.zeros(2))


def fitted(intercepts: bool) -> np.ndarray:
    """The weights of a logistic regression where a feature tells the data sets apart, and another counts."""
    rng = np.random.default_rng(0)
    source = rng.integers(0, 2, N)
    counts, tells = rng.normal(size=N), source + rng.normal(scale=0.5, size=N)
    y = rng.random(N) < 1 / (1 + np.exp(-(counts + 3 * source - 2)))
    x = torch.tensor(np.column_stack([counts, tells]), dtype=torch.float32)
    share = source_shares(torch.ones(N, 1), torch.tensor(source), 2)
    own, head = SourceIntercepts(share), torch.nn.Linear(2, 1)
    parameters = [*head.parameters(), *(own.parameters() if intercepts else ())]
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = head(x) + own(torch.tensor(source))
        found = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], torch.tensor(y).float())
        found.backward()
        return found

    optimizer.step(loss)
    if intercepts:  # the oracle: dummy variables
        dummies = np.column_stack([x.numpy(), source])
        oracle = LogisticRegression(C=np.inf).fit(dummies, y).coef_[0, :2]
        np.testing.assert_allclose(head.weight.detach().numpy()[0], oracle, atol=5e-3)
    return head.weight.detach().numpy()[0]


def test_with_intercepts_no_weight_is_spent_on_telling_data_sets_apart() -> None:
    without, own = fitted(intercepts=False), fitted(intercepts=True)
    assert without[1] > 1
    assert abs(own[1]) < 0.25
    assert abs(own[0] - 1) < 0.15
