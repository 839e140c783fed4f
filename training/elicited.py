"""`python -m training.elicited fit THREADS -o MODEL`, `apply MODEL SCORES -o FILLED`: toxic replies foreseen.

`fit` learns from threads which posts draw toxic replies, and says how well that is foreseen in threads not
seen. `apply` fills in the tone of comments that a post does not have yet, so that `reranker rank --scores`
takes it into account from the first view.
"""

import argparse
import sys
from pathlib import Path

from reranker.columns import FeedError
from training.command import run_command
from training.elicited_files import foresee_comments, read_threads, write_elicited
from training.elicited_model import Foresight, fit_elicited, foresee
from training.value_interval import Interval


def sentences_of(found: Foresight) -> list[str]:
    """What the model is worth, in plain words."""
    lines = [
        f"{found.n:,} replies in {found.n_threads:,} threads, {found.n_toxic:,} of them toxic "
        f"({found.rate:.1%}); {found.n_unscored:,} left out, their posts not scored.",
        f"AUROC on unseen threads {_shown(found.auroc)}; of the post's own toxicity "
        f"{_shown(found.auroc_own)}; gain {_shown(found.auroc_gain)}.",
        f"Among the tenth predicted highest {_shown(found.rate_of_top)} of the replies are toxic.",
        f"Log loss less that of one rate for all posts {_shown(found.log_loss_less_rate, 5)}, less that of "
        f"the post's own toxicity {_shown(found.log_loss_less_own, 5)}; below 0 the model is better.",
        f"Calibration error {found.calibration_error:.4f}"
        + ("." if found.slope is None else f", slope {_shown(found.slope)}."),
    ]
    if not found.is_useful:
        lines.append("warning: it does not clearly beat one rate for all posts; apply will refuse it.")
    elif not found.beats_own:
        lines.append("warning: the other labels do not clearly add to the post's own toxicity.")
    return lines


def _shown(found: Interval, digits: int = 3) -> str:
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def main() -> None:
    """Reads the arguments and runs one of the two."""
    parser = argparse.ArgumentParser(prog="training.elicited", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit", help="learn which posts draw toxic replies")
    fit.add_argument("threads", type=Path)
    fit.add_argument("--scores", type=Path, help="what `reranker score` wrote of the posts")
    fit.add_argument("--folds", type=int, default=5, help="of threads")
    fit.add_argument("--seed", type=int, default=0, help="of the folds")
    use = commands.add_parser("apply", help="fill in the tone of comments that are not there yet")
    use.add_argument("model", type=Path)
    use.add_argument("scores", type=Path)
    for one in (fit, use):
        one.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.output.is_dir():
        raise FeedError(f"{arguments.output}: expected a file or nothing of that name, got a directory")
    if arguments.command == "fit":
        threads = read_threads(arguments.threads, arguments.scores)
        options = {"n_folds": arguments.folds, "seed": arguments.seed}
        found = foresee(threads, **options)
        write_elicited(fit_elicited(threads, **options), found, arguments.output)
        sys.stdout.write("\n".join(sentences_of(found)) + "\n")
    else:
        filled, empty = foresee_comments(arguments.model, arguments.scores, arguments.output)
        sys.stdout.write(f"{filled:,} posts with a foreseen tone, {empty:,} without any\n")


if __name__ == "__main__":
    run_command(main)
