"""The operator's side of the app; reached through the admin listener only."""
