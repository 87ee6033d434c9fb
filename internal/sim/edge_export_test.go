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

// ProcessAddress is where the only process of the world listens.
func (w *World) ProcessAddress() string {
	w.edge.runner.mu.Lock()
	defer w.edge.runner.mu.Unlock()
	for _, p := range w.edge.runner.processes {
		return p.target.Host
	}
	return ""
}
