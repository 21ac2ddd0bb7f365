"""An independent judge of digits: a small classifier, its inner features and its verdicts. Must not know: GANs."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.quality.gans import to_tensor
from ml import checkpoint
from ml.data.store import Labels, Pictures

EPOCHS = 30
FEATURES = 64


class Classifier(nn.Module):
    """Digits (B, 1, 28, 28) in [-1, 1] -> features (B, FEATURES) and logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 24, 5, padding=2), nn.Conv2d(24, 48, 3, padding=1)
        self.inner, self.output = nn.Linear(48 * 7 * 7, FEATURES), nn.Linear(FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        x = F.max_pool2d(F.relu(self.second(x)), 2)
        return F.relu(self.inner(F.dropout(x.flatten(1), 0.3, self.training)))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(F.dropout(self.features(x), 0.3, self.training))
        return logits

    @torch.no_grad()
    def look(self, pictures: Pictures) -> tuple[npt.NDArray[np.float64], Labels]:
        """(N, S, S, 1) -> features (N, FEATURES) and the class of each (N,)."""
        self.eval()
        features = torch.cat([self.features(part) for part in torch.split(to_tensor(pictures), 500)])
        return features.double().numpy(), self.output(features).argmax(1).numpy()


def open_classifier(path: Path, pictures: Pictures, labels: Labels) -> Classifier:
    """The classifier kept at `path`, trained first on these if there is none yet: about a minute of CPU."""
    if path.exists():
        classifier = Classifier()
        classifier.load_state_dict(checkpoint.load(path))
        return classifier
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier().train()
        optimizer = torch.optim.AdamW(classifier.parameters(), 2e-3, weight_decay=0.01)
        steps = EPOCHS * (len(pictures) // 100)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        x, y = to_tensor(pictures), torch.from_numpy(labels)
        for _ in range(EPOCHS):
            for part in torch.split(torch.randperm(len(x))[: len(x) // 100 * 100], 100):
                down, right = torch.randint(-2, 3, (2,)).tolist()
                loss = F.cross_entropy(classifier(torch.roll(x[part], (down, right), (2, 3))), y[part])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, classifier.state_dict())
    return classifier
