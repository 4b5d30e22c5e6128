package wiring

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"holdfast/internal/peer"
	"holdfast/internal/registry"
)

// metrics count what a registry does. They name no repository: whoever may
// read them need not know which there are.
type metrics struct {
	all                      *prometheus.Registry
	requests                 *prometheus.CounterVec
	seconds                  *prometheus.HistogramVec
	received, sent           prometheus.Counter
	fetchedBytes, fetchFails prometheus.Counter
}

func newMetrics(dir string, in *swarm) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "holdfast_registry_" + name, Help: help})
	}
	m := &metrics{
		all: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_registry_requests_total", Help: "Requests that were answered, by operation and status.",
		}, []string{"operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "holdfast_registry_request_seconds", Help: "Time from a request's head to the end of its answer.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60, 600},
		}, []string{"operation"}),
		received:     counter("received_bytes_total", "Bytes of the bodies of requests."),
		sent:         counter("sent_bytes_total", "Bytes of the bodies of answers."),
		fetchedBytes: counter("fetched_bytes_total", "Bytes that came from peers and upstream registries."),
		fetchFails:   counter("fetch_failures_total", "Fetches from peers and upstream registries that broke off or brought other bytes."),
	}
	space := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "holdfast_registry_free_bytes", Help: "Bytes that the disk of the registry's folder can take.",
	}, func() float64 {
		n, _ := free(dir)
		return float64(n)
	})
	m.all.MustRegister(m.requests, m.seconds, m.received, m.sent, m.fetchedBytes, m.fetchFails, space,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if in != nil {
		m.swarm(in.node)
	}
	return m
}

// Request and Fetched are registry.Observer's.
func (m *metrics) Request(r registry.Answered) {
	m.requests.WithLabelValues(r.Operation, strconv.Itoa(r.Status)).Inc()
	m.seconds.WithLabelValues(r.Operation).Observe(r.Took.Seconds())
	m.received.Add(float64(r.Received))
	m.sent.Add(float64(r.Sent))
}

func (m *metrics) Fetched(bytes int64, err error) {
	m.fetchedBytes.Add(float64(bytes))
	if err != nil {
		m.fetchFails.Inc()
	}
}

// swarm counts what a node gives and gets. It names no peer.
func (m *metrics) swarm(n *peer.Node) {
	counter := func(name, help string, of func(peer.Traffic) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "holdfast_swarm_" + name, Help: help},
			func() float64 { return float64(of(n.Traffic())) })
	}
	m.all.MustRegister(
		counter("sent_bytes_total", "Bytes of blocks that peers got.", func(t peer.Traffic) uint64 { return t.Sent }),
		counter("received_bytes_total", "Bytes of blocks that came from peers.", func(t peer.Traffic) uint64 { return t.Received }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "holdfast_swarm_peers", Help: "Peers that are connected."},
			func() float64 { return float64(n.Traffic().Peers) }))
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.all, promhttp.HandlerOpts{})
}
