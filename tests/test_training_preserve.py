import numpy as np
import pytest
import torch

from models.encoder import MultiLabelEncoder
from tests.tiny import random_bert, random_network, random_texts, word_tokenizer
from training.batches import Tokens, tokenize
from training.preserve import Preserving, distance, pooled_features

WORDS = [f"w{i}" for i in range(28)]


def tokens(n: int) -> Tokens:
    return tokenize(random_texts(WORDS, n), word_tokenizer(WORDS), max_tokens=12, pad_id=0)


def trained(weight: float, steps: int = 150) -> tuple[MultiLabelEncoder, torch.Tensor, Tokens]:
    """A random encoder that learns whether a text holds w0, and its features before."""
    torch.manual_seed(0)
    read = tokens(64)
    model = MultiLabelEncoder(random_bert(32), 16, 1)
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    start = pooled_features(model, read, "cpu")
    ids, mask = read.padded(np.arange(64))
    target = (ids == 4).any(dim=1).float()[:, None]
    both = Preserving(model, with_map=True)
    optimizer = torch.optim.Adam(both.parameters(), lr=1e-2)
    for _ in range(steps):
        logits, mapped = both(ids, mask)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        loss = loss + weight * distance(mapped, start).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, start, read


def unexplained(start: torch.Tensor, now: torch.Tensor) -> float:
    """The share of the old features that no linear map of the new ones gives, by least squares."""
    design = np.column_stack([now.numpy(), np.ones(len(now))])
    fitted, *_ = np.linalg.lstsq(design, start.numpy(), rcond=None)
    left = start.numpy() - design @ fitted
    return float((left**2).sum() / (start.numpy() ** 2).sum())


def test_the_map_starts_as_the_identity() -> None:
    model, read = random_network(2), tokens(20)
    ids, mask = read.padded(np.arange(20))
    logits, mapped = Preserving(model, with_map=True).eval()(ids, mask)
    torch.testing.assert_close(mapped, model.pooled(ids, mask))
    torch.testing.assert_close(logits, model(ids, mask))
    logits, mapped = Preserving(model, with_map=False).eval()(ids, mask)
    torch.testing.assert_close(logits, model(ids, mask))
    assert mapped.shape == (20, 0)


def test_the_distance_is_zero_at_the_start_and_one_where_nothing_is_left() -> None:
    start = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert distance(start, start).tolist() == [0.0, 0.0]
    assert distance(torch.zeros(2, 2), start).tolist() == [1.0, 1.0]
    assert distance(torch.tensor([[0.0, 4.0], [1.0, 2.0]]), start).tolist() == pytest.approx([9 / 25, 4.0])


def test_features_come_in_the_order_of_the_texts_and_as_the_model_gives_them() -> None:
    model, read = random_network(2), tokens(70)  # more than one batch
    found = pooled_features(model, read, "cpu")
    assert model.training
    model.eval()
    for row in (0, 41, 69):
        ids, mask = read.padded(np.array([row]))
        torch.testing.assert_close(found[row], model.pooled(ids, mask)[0], rtol=0, atol=1e-5)


def test_what_is_preserved_stays_linear_in_the_new_features() -> None:
    loose, start, read = trained(0.0)
    kept, _, _ = trained(1.0)
    lost, left = (unexplained(start, pooled_features(model, read, "cpu")) for model in (loose, kept))
    assert left < 0.5 * lost, (left, lost)
    ids, mask = read.padded(np.arange(64))
    target = (ids == 4).any(dim=1)
    for model in (loose, kept):  # and both have learnt the task
        assert ((model.eval()(ids, mask)[:, 0] > 0) == target).float().mean() > 0.95
