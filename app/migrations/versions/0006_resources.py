"""What a run is to have for itself, where runs share a cluster."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("resources", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "resources")
