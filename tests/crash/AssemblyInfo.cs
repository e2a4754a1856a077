// Each test starts processes that each use a CPU; two at a time would only measure how they starve each other.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
