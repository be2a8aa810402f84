"""The lab's Pulumi programs: the baseline of the cluster, and one program for each exercise."""
