"""Who answers: live models and engines, health, choice, forward, relay, the gateway's own pages."""
