"""What runs by itself: schedules, deployments, and services that follow the store."""
