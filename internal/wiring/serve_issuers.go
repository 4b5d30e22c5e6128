package wiring

import (
	"holdfast/internal/broker"
	"holdfast/internal/broker/issuers"
)

// followIssuers has a served broker trust whom the configuration's file lists.
func (s *Services) followIssuers(c ServeConfig) (func(*broker.Config), error) {
	if c.Issuers == "" {
		return func(*broker.Config) {}, nil
	}
	list, err := issuers.Open(issuers.Config{File: c.Issuers, Log: c.Log})
	if err != nil {
		return nil, err
	}
	s.watch(list)
	return func(b *broker.Config) { b.Issuers = list.Get }, nil
}

// BrokerName is the broker's in its tokens (iss): what a list of issuers names
// it by.
func (s *Services) BrokerName() string { return BrokerAudience(s.ring) }
