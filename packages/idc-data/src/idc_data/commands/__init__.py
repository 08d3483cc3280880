"""The commands of `idc-data`."""
