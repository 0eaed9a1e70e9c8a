"""Who may enter. What becomes of those who may is routing's and the gateway's."""
