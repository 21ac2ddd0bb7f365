"""The service: HTTP, jobs, database, files. Imports `ml` (never torch); `ml` never imports this."""

import sys
import warnings

from pydantic import BaseModel
from pydantic.warnings import UnsupportedFieldAttributeWarning

__version__ = "0.1.0"

# Every model of ours and of FastAPI builds its validator when it is first asked to validate, under pydantic's own lock,
# and not when its class is made: a start waits for the few that its first answers need, which spares a twelfth of it.
BaseModel.model_config["defer_build"] = True
# No model here is one of pydantic 1, whose copy inside pydantic FastAPI would load to ask.
sys.modules.setdefault("pydantic.v1", None)  # type: ignore[arg-type]  # what Python takes for "cannot be imported"
# FastAPI keeps this back where it makes a route, which is now before it is said.
warnings.filterwarnings("ignore", "The 'alias' attribute with value", UnsupportedFieldAttributeWarning)
