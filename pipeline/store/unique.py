"""One of each program: the definition that corpora, mixtures and the view `deduplicated` share.

A representative is chosen within what a query asks for. Its `WHERE` selects rows, and
`QUALIFY one_of_near(...)` then keeps the first row, by trajectory_id, of each cluster of near-duplicates and
verdict. So an accepted program is never dropped for a failing twin, and a row is never dropped for one that
the query did not select. A row that deduplication has not seen yet is a cluster of its own.

    SELECT trajectory_id FROM judged LEFT JOIN clusters USING (trajectory_id) WHERE origin = 'human'
    QUALIFY one_of_near(cluster_id, verdict, trajectory_id)
"""

from __future__ import annotations

MACRO = """
CREATE OR REPLACE MACRO one_of_near(cluster_id, verdict, trajectory_id) AS
    row_number() OVER (PARTITION BY coalesce(cluster_id, trajectory_id), verdict ORDER BY trajectory_id) = 1
"""
