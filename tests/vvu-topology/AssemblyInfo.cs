// Each test boots virtual machines of two emulated CPUs; two at a time would only measure how they starve each other.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
