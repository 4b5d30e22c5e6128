package wiring

import "holdfast/internal/broker"

// BrokerLimits bound what parties may ask of a served broker. Zeros stand for
// the broker's defaults.
type BrokerLimits struct {
	broker.Limits
	Sessions int // attested ones
}

func (l BrokerLimits) apply(c *broker.Config) { c.Limits, c.MaxSessions = l.Limits, l.Sessions }
