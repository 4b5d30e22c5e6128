package main

// peersText is what others have published of brokers and verifiers. None of it
// was measured here.
const peersText = `## Peers of the broker

None was measured beside ours: Trustee is in Rust, and no compiler of it is at hand. These are figures that others published, on other
machines, of parts of what a handshake is. Nobody was found to have published full handshakes of Trustee's KBS per second, nor
attestations of SPIRE: its sizing table is in cores and memory alone.

| who | what | figure | where |
|---|---|---|---|
| Trustee's attestation service, TPM evidence (fork of openanolis) | verification and policy over HTTP; no endorsement checked, no key exchange | 600 to 900 a second on 4 cores | [openanolis/trustee#187](https://github.com/openanolis/trustee/pull/187), July 2026 |
| the same, endorsement looked up at a Keylime registrar each time | | 3.3 a second | the same |
| Trustee's attestation service in one process, TDX evidence | one evaluation, with reference values; without policy | 73 ms; 17 ms, of them the quote 13 to 15 | [TNG#218](https://github.com/inclavare-containers/TNG/issues/218), September 2026 |
| dcap-qvl | a TDX quote verified, collateral in memory, one thread of a Ryzen AI 9 HX 370 | 0.54 ms, p99 1.1 ms | [flashbots/attested-tls-benchmarks](https://github.com/flashbots/attested-tls-benchmarks) |
| HashiCorp Vault, transit engine, five replicas on AKS | requests of 1300 workers, which attest nothing | mean 1.63 s, p99 5.5 s | [Constellation's documentation](https://docs.edgeless.systems/constellation/overview/performance/application) |
| SPIRE | servers for 1000 agents with 1000 workloads | 2 of 16 cores | [scaling_spire.md](https://github.com/spiffe/spire/blob/main/doc/scaling_spire.md) |

`
