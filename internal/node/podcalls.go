package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"holdfast/internal/api"
)

// isPodCall says whether a call is for whoever runs the pod. Stop is for the
// machine, which ends with its pod.
func isPodCall(name string) bool { return name != api.CallStop && slices.Contains(api.PodCalls, name) }

// hand gives an allowed call to whoever runs the pod, who may take long; mu is
// held. A reply that is not empty says that nobody takes it.
func (c *control) hand(call api.Call) api.Event {
	handed := api.PodCall{Name: call.Call, Params: call.Params, Answer: func(detail any, err error) { c.reply(call, detail, err) }}
	select {
	case c.calls <- handed:
		return api.Event{}
	default:
		return c.refuse(call.ID, fmt.Errorf("%s: too many calls wait already", call.Call))
	}
}

// reply answers a call that was handed on. What was refused is recorded.
func (c *control) reply(call api.Call, detail any, err error) {
	event := api.Event{ID: call.ID, Event: api.EventReply}
	if err == nil && detail != nil {
		event.Detail, err = json.Marshal(detail)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", call.Call, brief(err))
		c.mu.Lock()
		event = c.refuse(call.ID, err)
		c.mu.Unlock()
		event.Error = err.Error() // whole: what a person looks for in the pod's events
	}
	c.queue(event)
}

// brief keeps of an error what fits into a reply.
func brief(err error) error {
	text := err.Error()
	if len(text) <= maxReason {
		return err
	}
	return errors.New(text[:maxReason])
}
