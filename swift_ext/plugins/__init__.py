"""Files that `swift rlhf --external_plugins` is pointed at. They only register."""
