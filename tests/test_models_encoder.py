from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from models.encoder import (
    HarmConfig,
    HarmModel,
    MultiLabelEncoder,
    config_of,
    from_config,
    from_pretrained,
    layers_read,
    reading,
    register,
)

TINY = {
    "bert": {
        "model_type": "bert",
        "vocab_size": 32,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    "roberta": {
        "model_type": "roberta",
        "vocab_size": 32,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
        "pad_token_id": 1,
    },
}
TINY["bert, both layers"] = TINY["bert"] | {"read_layers": [1, 2]}
IDS = torch.tensor([[2, 5, 6, 3, 0, 0], [2, 7, 8, 9, 10, 3]])
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])


def network(encoder: str = "bert") -> MultiLabelEncoder:
    torch.manual_seed(0)
    model = from_config(TINY[encoder], 3)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def harm_model(encoder: str = "bert") -> HarmModel:
    config = HarmConfig(
        encoder=TINY[encoder],
        id2label={0: "toxicity", 1: "humor", 2: "civic"},
        label2id={"toxicity": 0, "humor": 1, "civic": 2},
    )
    model = HarmModel(config).eval()
    model.load_state_dict(network(encoder).state_dict())
    return model


@pytest.mark.parametrize("encoder", TINY)
def test_the_transformers_model_is_the_network_under_the_same_names(encoder: str) -> None:
    with torch.inference_mode():
        found = harm_model(encoder)(input_ids=IDS, attention_mask=MASK)
        torch.testing.assert_close(found.logits, network(encoder)(IDS, MASK))
    assert found.loss is None


def test_a_new_model_gives_one_half_for_every_label() -> None:
    model = HarmModel(HarmConfig(encoder=TINY["bert"], id2label={0: "toxicity"}, label2id={"toxicity": 0}))
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(input_ids=IDS).logits, torch.zeros(2, 1))


def test_without_a_mask_every_token_counts() -> None:
    with torch.inference_mode():
        found = harm_model()(input_ids=IDS[1:]).logits
        torch.testing.assert_close(found, harm_model()(input_ids=IDS[1:], attention_mask=MASK[1:]).logits)


def test_the_loss_is_the_mean_cross_entropy_of_what_is_annotated() -> None:
    labels = torch.tensor([[1.0, torch.nan, 0.0], [0.25, 1.0, torch.nan]])
    with torch.inference_mode():
        found = harm_model()(input_ids=IDS, attention_mask=MASK, labels=labels)
    p, y = 1 / (1 + np.exp(-found.logits.double().numpy())), labels.double().numpy()
    expected = np.nanmean(-(y * np.log(p) + (1 - y) * np.log(1 - p)))
    assert float(found.loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("encoder", ["bert", "bert, both layers"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_files_load_through_the_auto_classes(tmp_path: Path, dtype: str, encoder: str) -> None:
    register()
    register()  # twice does no harm
    model = harm_model(encoder)
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is HarmConfig
    assert config.problem_type == "multi_label_classification"
    assert config.id2label == {0: "toxicity", 1: "humor", 2: "civic"}
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).to(getattr(torch, dtype))
    assert type(loaded) is HarmModel
    assert not loaded.training
    with torch.inference_mode():
        torch.testing.assert_close(
            loaded(input_ids=IDS, attention_mask=MASK).logits,
            model(input_ids=IDS, attention_mask=MASK).logits,
            atol=1e-6 if dtype == "float32" else 0.1,
            rtol=0,
        )


@pytest.mark.parametrize(
    "model_type", ["bert", "distilbert", "modernbert", "deberta-v2", "electra", "roberta"]
)
def test_encoders_of_many_architectures_can_be_started_from(model_type: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    AutoModel.from_config(AutoConfig.for_model(model_type, **sizes, **special)).half().save_pretrained(
        tmp_path
    )
    model = from_pretrained(str(tmp_path), 3).eval()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    again = from_config(config_of(model), 3).eval()
    again.load_state_dict(model.state_dict())
    ids = torch.tensor([[1, 5, 6, 2]])
    with torch.inference_mode():
        torch.testing.assert_close(model(ids, torch.ones_like(ids)), again(ids, torch.ones_like(ids)))


def test_a_head_reads_the_means_of_the_layers_that_it_is_told_to() -> None:
    model = network()
    assert layers_read(model.encoder) == (2,)
    with torch.inference_mode():
        states = model.encoder(IDS[1:], MASK[1:], output_hidden_states=True).hidden_states
        features = {
            layers: reading(model, layers).pooled(IDS[1:], MASK[1:])[0] for layers in ((1, 2), (1,), (2,))
        }
    first, last = (states[layer][0].mean(dim=0) for layer in (1, 2))
    torch.testing.assert_close(features[1, 2], torch.cat([first, last]))
    torch.testing.assert_close(features[1,], first)
    torch.testing.assert_close(features[2,], last)
    both = reading(model, [1, 2]).eval()
    torch.nn.init.normal_(both.head.weight)
    assert layers_read(both.encoder) == (1, 2)
    assert both.head.weight.shape == (3, 32)
    again = from_config(config_of(both), 3).eval()
    again.load_state_dict(both.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(again(IDS, MASK), both(IDS, MASK))


@pytest.mark.parametrize("layers", [[], [0, 1], [2, 1], [1, 1], [1, 3]])
def test_layers_that_are_not_there_are_refused(layers: list[int]) -> None:
    with pytest.raises(ValueError, match=r"read_layers: expected ascending numbers from 1 to 2, got \["):
        reading(network(), layers)
