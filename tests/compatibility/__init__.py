"""The short form of the tests in one environment for each version of the upstreams: `bash launch/compat.sh`."""
