"""What a fleet tells others: events while it runs, a snapshot for `status`, metrics, and a table for the gateway."""
