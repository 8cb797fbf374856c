"""What the stages share: artefacts, configuration, backbone, experts, routing, metrics."""
