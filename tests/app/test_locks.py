"""Who may use a data folder at the same time."""

from pathlib import Path

import pytest

from app.core.errors import StartError
from app.locks import hold, is_free, share


def test_who_shares_does_not_keep_others_that_share_out(tmp_path: Path) -> None:
    first, second = share(tmp_path, "service"), share(tmp_path, "service", wait=0)
    assert not is_free(tmp_path, "service")
    with pytest.raises(StartError, match="another service uses"):
        hold(tmp_path, "service", wait=0.2)
    first.close()
    with pytest.raises(StartError):
        hold(tmp_path, "service", wait=0)
    second.close()
    lock = hold(tmp_path, "service", wait=0)
    with pytest.raises(StartError, match="--share"):
        share(tmp_path, "service", wait=0.2)
    lock.release()
    share(tmp_path, "service", wait=0).close()
    assert is_free(tmp_path, "service")
