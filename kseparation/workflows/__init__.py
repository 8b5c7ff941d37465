"""What a user does, one file each: the only place that joins config and code."""
