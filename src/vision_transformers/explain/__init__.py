"""Why a model says what it says: functions over any ViT of this project, and how far to believe them."""
