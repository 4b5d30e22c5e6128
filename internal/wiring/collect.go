package wiring

import (
	"math"
	"runtime/debug"

	"holdfast/internal/broker"
)

// collectRarely lets services take memory for time: a handshake leaves a hundred
// kilobytes of garbage, and little that stays, of so many sessions. What the
// environment says (GOGC, GOMEMLIMIT) counts more, but for a GOGC of 100, which
// looks like none.
func collectRarely(sessions int) {
	collectAt(broker.GCPercent)
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memoryLimit(sessions))
	}
}

// CollectOften keeps a build small: what packs on both processors holds a hundred megabytes,
// and costs little to look through.
func CollectOften() { collectAt(50) }

func collectAt(percent int) {
	const unsaid = 100
	if was := debug.SetGCPercent(percent); was != unsaid {
		debug.SetGCPercent(was)
	}
}

// memoryLimit has room for twice what sessions take, 4 KiB each: near it garbage
// is collected all the time.
func memoryLimit(sessions int) int64 {
	return max(broker.MemoryLimit, 2*int64(sessions)<<12+256<<20)
}
