"""A stranger's checkpoint and the device asked for, looked at before anything is loaded."""
