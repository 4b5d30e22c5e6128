package broker

// AttestationKeys are those of TPMs that an operator vouches for, so that they
// count without activation: data.attestation_keys of policies. That such a key
// signed is for the verifier to see; what it is good for, for policy.
type AttestationKeys struct {
	Names map[string]string // by key, as the claim ak_public has it
}

func (b *Broker) attestationKeys() *AttestationKeys {
	if b.cfg.AttestationKeys == nil {
		return nil
	}
	return b.cfg.AttestationKeys()
}

// names are never null, which policies would stumble over.
func (k *AttestationKeys) names() map[string]string {
	if k == nil || k.Names == nil {
		return map[string]string{}
	}
	return k.Names
}

// among are those that claims show.
func (k *AttestationKeys) among(claims map[string]any) []string {
	if len(k.names()) == 0 {
		return nil
	}
	return among(claims, func(v string) bool { _, ok := k.Names[v]; return ok })
}
