package wiring

import (
	"math"
	"runtime/debug"

	"holdfast/internal/broker"
)

// collectRarely lets services take memory for time: a handshake leaves a hundred
// kilobytes of garbage, and little that stays. What the environment says (GOGC,
// GOMEMLIMIT) counts more.
func collectRarely() {
	const unsaid = 100
	if was := debug.SetGCPercent(broker.GCPercent); was != unsaid {
		debug.SetGCPercent(was)
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(broker.MemoryLimit)
	}
}
