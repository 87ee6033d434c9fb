package sim

import "time"

// Invoke records an invocation of a Worker as the edge does after serving one.
func (w *World) Invoke(account, script, version, outcome string, at time.Time, cpu time.Duration) {
	w.traffic(trafficEvent{
		Account: account, Script: script, Version: version, At: at, Kind: "fetch", Method: "GET", URL: "https://swicked.kvick.bike/",
		Status: 200, Outcome: outcome, Subrequests: 2, Wall: 2 * cpu, CPU: cpu,
	})
}
