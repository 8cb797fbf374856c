"""The pocket stream and backbone: what their stages share."""
