"""Independent units of work: on the cores of this machine or on a cluster, kept by what they were made of."""
