// Models and drivers poll: side by side on a small machine they would only run into each other's time limits.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
