"""The methods as controllers of one sampling run, without a host."""
