"""GET /datasets."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from app.datasets.service import Datasets

router = APIRouter(tags=["data sets"])


def datasets_of(request: Request) -> Datasets:
    found: Datasets = request.app.state.datasets
    return found


DatasetsDep = Annotated[Datasets, Depends(datasets_of)]


@router.get("/datasets", summary="The data sets there are, with licence and attribution")
def list_datasets(datasets: DatasetsDep) -> dict[str, list[dict[str, Any]]]:
    """`prepared` is false until a data set is first used; its counts and hash are known from then on."""
    return {
        "datasets": [
            {"id": info.name, **info.model_dump(), "builtin": True, "prepared": prepared}
            for info, prepared in datasets.all()
        ]
    }
