package sim

// WorkerdBinary is for the tests of package sim_test.
var WorkerdBinary = workerdBinary

// Processes tells how many workerd processes the world keeps, retired ones left out.
func (w *World) Processes() int {
	w.edge.runner.mu.Lock()
	defer w.edge.runner.mu.Unlock()
	return len(w.edge.runner.processes)
}

// MaxProcesses is the bound that Processes keeps while nothing is in flight.
const MaxProcesses = maxProcesses
